"""How an attempt starts: in this process, in several processes, or as a copy of a process with everything loaded."""
