"""How fast this machine trains: ratios measured in one run."""
