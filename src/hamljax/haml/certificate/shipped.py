"""What certificates say of the drifts that ship, with the numbers that rows have: (in the interior, on the closed simplex)."""

VERDICTS = {
    "none": ("proved", "proved"),
    "clip": ("proved", "refuted"),
    "clip_n": ("proved", "refuted"),
    "rollback": ("proved", "refuted"),
    "kl": ("proved", "refuted"),
    "reverse_kl": ("proved", "refuted"),
    "mirror_descent": ("proved", "refuted"),
    "spo": ("proved", "refuted"),
    "saturating": ("proved", "not refuted"),
    "euclid": ("proved", "not refuted"),
    "dpo": ("proved", "refuted"),
}
