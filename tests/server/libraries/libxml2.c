/* SPDX-License-Identifier: MIT */
/* libxml2: parsed, asked by XPath, changed, written. */
#include "library.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xpath.h>

static void quiet(void *context, const char *format, ...)
{
	(void)context;
	(void)format;
}

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	xmlInitParser();
	return 0;
}

/* It has a state per thread. */
int pail_thread_start(void)
{
	xmlInitParser();
	xmlSetGenericErrorFunc(NULL, quiet);
	xmlResetLastError();
	return 0;
}

/* The last error is the thread's, and its strings are the request's. */
void pail_request_end(struct pail_request *r)
{
	(void)r;
	xmlResetLastError();
}

static int library_work(struct pail_request *r)
{
	static const char text[] =
		"<?xml version='1.0'?><a xmlns:y='urn:y'><b c='1'>text &amp; more</b>"
		"<b c='2'><y:d/></b><b c='3'>last</b></a>";
	xmlDocPtr doc = xmlReadMemory(text, sizeof(text) - 1, "a.xml", NULL, XML_PARSE_NONET);
	xmlXPathContextPtr context = doc ? xmlXPathNewContext(doc) : NULL;
	xmlXPathObjectPtr found =
		context ? xmlXPathEvalExpression(BAD_CAST "//b[@c > 1]", context) : NULL;
	xmlChar *out = NULL;
	int length = 0, fine = found && found->nodesetval && found->nodesetval->nodeNr == 2;

	for (int i = 0; fine && i < found->nodesetval->nodeNr; i++)
		fine = xmlNewChild(found->nodesetval->nodeTab[i], NULL, BAD_CAST "new",
				   BAD_CAST "child") != NULL;
	if (fine)
		xmlDocDumpMemory(doc, &out, &length);
	if (out)
		pail_write(r, out, (size_t)length);
	fine = fine && out && length > 0;
	xmlFree(out);
	xmlXPathFreeObject(found);
	xmlXPathFreeContext(context);
	xmlFreeDoc(doc);
	return fine ? 200 : 500;
}
