"""How a team acts: networks, and which agents share them."""
