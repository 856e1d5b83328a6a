#!/bin/sh
# What the library calls and what it shows. usage: symbols.sh LIBRARY.a LIBRARY.so CLI_OBJECT...
# The library never prints, exits, aborts or reads the environment: none of its objects refers to a
# function that does. It exports the public names only, and the command line needs no others.
set -eu
archive=$1 shared=$2
shift 2
forbidden='_?exit|_Exit|quick_exit|abort|(secure_)?getenv|setenv|putenv|system|v?printf|__v?printf_chk|puts|putchar|perror|stdout|stderr|stdin'
if nm -A -u "$archive" | grep -E " U ($forbidden)(@|\$)"; then
    echo "symbols: the library refers to the above, which belongs to programs"
    exit 1
fi
exported=$(nm -D --defined-only "$shared" | awk '{print $3}' | grep -v '^\.gomp_critical_user_')
if echo "$exported" | grep -vE '^rvx_[a-z]' || echo "$exported" | grep '^rvx__'; then
    echo "symbols: the shared library exports the above beside its public names"
    exit 1
fi
for name in $(nm -u "$@" | awk '/ U rvx_/ {print $2}' | grep -v '^rvx__cli_' | sort -u); do
    if ! echo "$exported" | grep -qx "$name"; then
        echo "symbols: the command line uses $name, which is not public"
        exit 1
    fi
done
echo "symbols: $(echo "$exported" | wc -l) public functions; nothing in the library prints, exits or reads the environment"
