#!/bin/sh
# Sizes and words of the tracked sources. Run from the repository root.
set -eu
wrong=0

for file in $(git ls-files '*.c' '*.h' '*.hpp' '*.cu' '*.cuh' '*.py' '*.sh'); do
    lines=$(wc -l <"$file")
    case $file in *.cu | *.cuh) most=800 ;; *) most=500 ;; esac
    if [ "$lines" -gt "$most" ]; then
        echo "sources: $file has $lines lines; at most $most keep a file on a few screens"
        wrong=1
    fi
done

for file in $(git ls-files '*.c' '*.h' '*.hpp' '*.cu' '*.cuh'); do
    case $(head -c 2 "$file") in '/*' | '//') ;; *)
        echo "sources: $file does not open with what it owns"
        wrong=1
        ;;
    esac
done

if git grep -nIE '\b(TODO|FIXME|XX[X])\b' -- '*.c' '*.h' '*.cu' '*.cuh' '*.hpp' '*.py' '*.sh' Makefile docs README.md ':!tests/check'; then
    echo "sources: unfinished work above"
    wrong=1
fi
if git grep -nIE '/(wor[k]|roo[t]|home/[a-z]+)/' -- .; then
    echo "sources: paths of one machine above"
    wrong=1
fi
[ $wrong = 0 ] && echo "sources: sizes, headings and words are as they should be"
exit $wrong
