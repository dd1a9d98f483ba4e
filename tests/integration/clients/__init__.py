"""DTLS clients of unrelated origin; each class knows its command line and its ready marker."""
