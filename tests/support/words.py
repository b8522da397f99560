"""What the speaker of the tests says; apart from the apps, which read the environment."""

TEXT = "".join(f"word{n} " for n in range(80))
