# A host without a package manager that is known: nothing is installed there.
manager='' kind=''
version_of() { :; }
files_of() { :; }
changed_files() { :; }
