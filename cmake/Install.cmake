# SPDX-License-Identifier: MIT
# What `cmake --install` puts where, beside the binaries: each part installs its
# own (bin/pail, libexec/pail/pail-server, lib/pail/libpailtrace.so), and the
# commands find the pieces beside themselves (cli_locate()).

# For those who write handlers and marks: headers only, so the .pc file is the
# same on every architecture.
install(DIRECTORY include/pail DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
configure_file(cmake/pail.pc.in ${PROJECT_BINARY_DIR}/pail.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pail.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)

file(GLOB manual CONFIGURE_DEPENDS docs/man/*.[1-8])
foreach(page ${manual})
	string(REGEX MATCH "[1-8]$" section ${page})
	install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
# Completion for bash and zsh. Debian's zsh looks into vendor-completions below /usr
# and into site-functions below /usr/local; others into site-functions.
install(FILES completion/pail.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
	RENAME pail)
foreach(folder site-functions vendor-completions)
	install(FILES completion/_pail DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/${folder})
endforeach()

file(GLOB documents CONFIGURE_DEPENDS docs/*.md)
install(DIRECTORY docs/img DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE README.md CHANGELOG.md ${documents} DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN "*.so" EXCLUDE)

# Marks for interpreters, to be loaded by them (docs/attribution.md).
install(DIRECTORY adapters DESTINATION ${CMAKE_INSTALL_DATADIR}/pail FILES_MATCHING
	PATTERN "*.py" PATTERN "*.js")
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/pail)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/adapters ${PROJECT_BINARY_DIR}/share/pail/adapters SYMBOLIC)
