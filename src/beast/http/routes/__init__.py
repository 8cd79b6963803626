"""One file per domain. A route reads the request, calls a service and answers; it decides nothing else."""
