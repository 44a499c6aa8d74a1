"""What runs made: read, compared, and judged fit to ship or not."""
