"""Programs that tests run in a process of their own, because they patch it or change its user."""
