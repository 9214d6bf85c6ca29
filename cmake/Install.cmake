# SPDX-License-Identifier: MIT
# What `cmake --install` puts where. The commands find the server and the shim
# beside their own binary (cli_locate()), by the same names as in the build
# tree: hence PREFIX/libexec/pail and PREFIX/lib/pail literally, whatever a
# distribution calls its folder of shared libraries. Neither is linked against.

if(TARGET pail)
	install(TARGETS pail RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET pail-server)
	install(TARGETS pail-server RUNTIME DESTINATION libexec/pail)
endif()
if(TARGET pailtrace)
	install(TARGETS pailtrace LIBRARY DESTINATION lib/pail)
endif()

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
install(FILES LICENSE README.md CHANGELOG.md docs/ARCHITECTURE.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
