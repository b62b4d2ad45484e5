"""What runs beside the API and keeps objects in step with one another: `--controllers`."""
