"""The care of what studies keep: looked over, made again, moved, and cleaned."""
