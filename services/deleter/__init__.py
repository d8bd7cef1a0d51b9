"""The deleter: leads a VM through the stages of its end, each on its day, and silences its alerts from the first on."""
