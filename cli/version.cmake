# SPDX-License-Identifier: MIT
# Writes OUTPUT, a header that says which commit is built; run at every build,
# touches the file only when the answer changed. Without git it is "unknown".
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12
	OUTPUT_VARIABLE commit ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
if(failed OR commit STREQUAL "")
	set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "/* SPDX-License-Identifier: MIT */
/* Made by cli/version.cmake. */
#define PAIL_COMMIT \"@commit@\"
#define PAIL_FEATURES \"@FEATURES@\"
" @ONLY)
