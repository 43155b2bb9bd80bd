"""The on-policy half: rollouts, advantages, a sweep by the mirror objective, a critic of states."""
