"""Networks, action distributions, running statistics, optimisers and small transforms; nothing here knows an algorithm."""
