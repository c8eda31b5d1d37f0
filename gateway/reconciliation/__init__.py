"""Submits without a clear answer: task ids that arrive by callback, and the decisions of an operator."""
