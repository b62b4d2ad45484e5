"""Verbs that look into a lab that is up, or ask it something; they change nothing."""
