# SPDX-License-Identifier: MIT
# `cpack -G DEB` (in the build folder) makes the Debian package; its dependencies
# on libraries are what dpkg-shlibdeps finds in the binaries.

set(CPACK_PACKAGE_NAME pail)
set(CPACK_PACKAGE_VENDOR pail)
set(CPACK_PACKAGE_CONTACT "the pail authors <pail@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION
	"pail records what each request of an unmodified server allocates, plans bucket
sizes and counts from it, serves handlers in buckets under a firm bound of
memory, and verifies what happened against what was predicted.")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# What is run, not linked: plots; adapters; queries; the build of handlers.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "gnuplot-nox")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "python3, nodejs, sqlite3, pkg-config")
include(CPack)
