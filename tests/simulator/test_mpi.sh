#!/bin/sh
# SPDX-License-Identifier: MIT
# One trace by slices over 2, 3 and 4 ranks of one machine: the same integers as
# one run. BUILD is the build folder.
set -eu
build=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$build/tests/simulator/make_trace" "$folder/t.db" 40000 40 3
sizes=16K,128K,4M counts=30,40,50,60
"$build/bin/pail" simulate "$folder/t.db" --size $sizes --count $counts --csv |
	cut -d, -f1,2,6,7,8 >"$folder/one"
for ranks in 1 2 3 4; do
	OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
		mpirun --oversubscribe -n $ranks "$build/bin/pail-simulate-mpi" "$folder/t.db" \
		$sizes $counts >"$folder/many"
	cmp "$folder/one" "$folder/many"
done
echo "the same integers with 1, 2, 3 and 4 ranks"
