"""Tasks and submits whose outcome was unclear: callbacks, late task ids, decisions of an operator."""
