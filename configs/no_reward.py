"""The name of the checker that rewards nothing. Reward workers import it, so it stands apart from the sections, which need pydantic."""

NO_REWARD = "none"
