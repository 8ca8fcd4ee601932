"""Sessions, calls, twins, updates and renewals, without sockets and stores."""
