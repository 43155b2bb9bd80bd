"""Studies: arms that are tuned alike, measured on fresh seeds, and compared as was said before they ran."""
