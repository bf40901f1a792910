"""In the PYTHONPATH of processes that a program starts: there, too, pycos and asyncoro are this layer."""
