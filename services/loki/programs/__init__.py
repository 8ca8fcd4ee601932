"""Programs that live: packages, deployments, and instances with their timers, stores and handlers."""
