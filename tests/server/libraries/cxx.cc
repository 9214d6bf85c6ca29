/* SPDX-License-Identifier: MIT */
/* C++: containers, strings, streams, shared pointers, exceptions thrown and caught. */
#include "library.h"

#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

static std::string work()
{
	std::map<std::string, std::vector<int>> all;
	std::ostringstream out;

	for (int i = 0; i < 60; i++)
		all["a key of some length " + std::to_string(i % 7)].push_back(i);
	for (const auto &[name, numbers] : all)
		out << name << '=' << numbers.size() << ' ';
	auto shared = std::make_shared<std::string>("shared");
	std::weak_ptr<std::string> weak = shared;
	try {
		std::vector<int>(3).at(5);
	} catch (const std::out_of_range &e) {
		out << "caught ";
	}
	try {
		throw std::runtime_error(std::string(100, 'x'));
	} catch (const std::exception &e) {
		out << std::string(e.what()).size() << ' ' << *weak.lock();
	}
	return std::regex_replace(out.str(), std::regex("a key of (\\w+) length"), "<$1>");
}

static int library_work(struct pail_request *r)
{
	try {
		library_say(r, work().c_str());
		return 200;
	} catch (const std::bad_alloc &) {
		return 500;
	}
}
