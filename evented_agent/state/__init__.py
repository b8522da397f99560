"""What is known of a run: its journal, folded into state, decisions and results."""
