"""Tests of netns_lab.apiserver.controllers."""
