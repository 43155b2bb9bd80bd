"""Training and evaluation of any learner, as one program or with the host between its halves."""
