//! Code of this machine and of repositories: working trees, build requirements, libraries, Mercurial.
