"""Tables, curves and moving pictures."""
