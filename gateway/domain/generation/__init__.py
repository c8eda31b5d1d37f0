"""The state machine of a generation: its values, the legal changes, and the rules that choose them."""
