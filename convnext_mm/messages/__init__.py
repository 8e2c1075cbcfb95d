"""What a person reads: findings, wording, log lines."""
