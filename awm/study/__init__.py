"""What the study asks of V, M and C: measurements, comparisons, and what they are said to show."""
