"""What the bridge does with sessions, apart from sockets and stores."""
