"""Neural-network training: networks, returns, normalisation, the on-policy loop, and ``make_train``."""
