"""The documentation site: pages of docs/, references generated from the source code, and a check of all links."""
