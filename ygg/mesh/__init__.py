"""The embedded mesh: nats-server and the services as child processes of one command."""
