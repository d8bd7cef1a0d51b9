"""The workers: one folder each, none knows another; they speak through events alone."""
