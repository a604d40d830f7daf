"""What makes an installation and takes it away: init, the demo, uninstall."""
