"""What every program needs to be one: command line, logs, readiness."""
