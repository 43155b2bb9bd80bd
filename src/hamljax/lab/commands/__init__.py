"""A module per command beside `train`."""
