"""Everything between the runner and a server: how it is reached, as whom, and the requests that are sent."""
