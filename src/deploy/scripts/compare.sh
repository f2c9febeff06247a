# rpm_compared A B: prints 1, 0 or -1, as rpm orders these versions. They reach rpm's Lua by the environment, as data: in the
# text of a macro they would be code that root runs.
rpm_compared() { A=$1 B=$2 rpm --eval '%{lua:print(rpm.vercmp(os.getenv("A"), os.getenv("B")))}'; }
