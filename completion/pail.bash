# SPDX-License-Identifier: MIT
# Completion of pail(1) for bash 4.2 and later. Commands, options and the words that
# an option takes are read from the program's own --help, once in a shell, so they
# are always those of the pail that is there.

declare -gA _pail_help_of 2>/dev/null

# _pail_help PROGRAM [COMMAND]: the help text, in REPLY.
_pail_help()
{
	local key="$1 $2"
	if [[ -z ${_pail_help_of[$key]+known} ]]; then
		_pail_help_of[$key]=$("$1" ${2:+"$2"} --help 2>/dev/null </dev/null)
	fi
	REPLY=${_pail_help_of[$key]}
}

# _pail_option_value OPTION HELP: what an option takes ("FILE", "bump|reuse"), in
# REPLY. 1: nothing.
_pail_option_value()
{
	local line pattern='^ +(-[[:alnum:]?], )?(--[[:alnum:]-]+)(\[?=([^] ]+))?'
	while IFS= read -r line; do
		[[ $line =~ $pattern ]] || continue
		if [[ ${BASH_REMATCH[2]} == "$1" || ${BASH_REMATCH[1]%, } == "$1" ]]; then
			REPLY=${BASH_REMATCH[4]}
			[[ -n $REPLY ]]
			return
		fi
	done <<<"$2"
	return 1
}

_pail_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# _pail_values VALUE CUR: choices, or files where the value is a name of one.
_pail_values()
{
	case $1 in
	*'|'*) mapfile -t COMPREPLY < <(compgen -W "${1//|/ }" -- "$2") ;;
	*FILE* | *DIR* | *PATH* | TRACE* | APP) _pail_files "$2" ;;
	*) COMPREPLY=() ;;
	esac
}

_pail()
{
	local program=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} command='' at help REPLY
	local prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	# bash takes --option=value apart at the sign.
	if [[ $cur == '=' ]]; then
		cur=''
	elif [[ $prev == '=' ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $prev != -[[:alnum:]] ]]; then
		prev=''
	fi
	_pail_help "$program"
	help=$REPLY
	if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == help && $COMP_CWORD == 2 ]]; then
		local names
		names=$(sed -n 's/^  \([a-z][a-z-]*\)  *[a-z].*/\1/p' <<<"$help")
		((COMP_CWORD == 1)) && names+=' help --help --version'
		mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
		return
	fi
	command=${COMP_WORDS[1]}
	for ((at = 2; at < COMP_CWORD; at++)); do
		if [[ ${COMP_WORDS[at]} == -- ]]; then
			# A program and its words.
			if ((COMP_CWORD == at + 1)) && [[ $command == record || $command == doctor ]]; then
				mapfile -t COMPREPLY < <(compgen -c -- "$cur")
			else
				_pail_files "$cur"
			fi
			return
		fi
	done
	_pail_help "$program" "$command"
	help=$REPLY
	if [[ -n $prev ]] && _pail_option_value "$prev" "$help"; then
		_pail_values "$REPLY" "$cur"
	elif [[ $cur == -* ]]; then
		local options
		options=$(sed -n 's/^ *\(-[[:alnum:]?], \)\?\(--[[:alnum:]-]*\)\(=\?\).*/\2\3/p' <<<"$help")
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		[[ ${COMPREPLY[0]} == *= ]] && ((${#COMPREPLY[@]} == 1)) && compopt -o nospace 2>/dev/null
	else
		_pail_files "$cur"
	fi
}

complete -F _pail pail
