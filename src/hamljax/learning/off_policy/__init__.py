"""The off-policy half: a replay, a sweep by the action-value of the joint action, a critic of state and joint action."""
