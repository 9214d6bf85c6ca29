/* SPDX-License-Identifier: MIT */
/* expat: elements, attributes, entities, name spaces. */
#include "library.h"

#include <expat.h>

static void on_start(void *context, const char *name, const char **attributes)
{
	library_say(context, name);
	for (; *attributes; attributes++)
		library_say(context, *attributes);
}

static void on_text(void *context, const char *text, int length)
{
	pail_write(context, text, (size_t)length);
}

static int library_work(struct pail_request *r)
{
	static const char text[] =
		"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY e 'entity text'>]>"
		"<a xmlns='urn:x' xmlns:y='urn:y'><b y:c='1' d='2'>text &e; &amp; more</b>"
		"<y:long-name-of-an-element attribute='value'>&e;&e;</y:long-name-of-an-element></a>";
	XML_Parser parser = XML_ParserCreateNS("UTF-8", ' ');
	int fine = parser != NULL;

	if (!parser)
		return 500;
	XML_SetUserData(parser, r);
	XML_SetElementHandler(parser, on_start, NULL);
	XML_SetCharacterDataHandler(parser, on_text);
	for (size_t i = 0; fine && i < sizeof(text) - 1; i += 40) {
		size_t left = sizeof(text) - 1 - i, n = left < 40 ? left : 40;
		fine = XML_Parse(parser, text + i, (int)n, n == left) == XML_STATUS_OK;
	}
	XML_ParserFree(parser);
	return fine ? 200 : 500;
}
