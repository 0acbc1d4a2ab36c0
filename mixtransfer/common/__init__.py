"""What every package may use, and that knows none of them: whole files, messages, signals, numbers, the device."""
