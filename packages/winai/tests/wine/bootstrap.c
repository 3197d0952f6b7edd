/*
 * Stands in for the library that loads the Windows App Runtime: it ends as it is told to,
 * and counts. The real one ends the process under Wine.
 *
 *     x86_64-w64-mingw32-gcc -shared -O2 -o Microsoft.WindowsAppRuntime.Bootstrap.dll bootstrap.c
 */
#include <windows.h>

#define EXPORT __declspec(dllexport)

static HRESULT ends = S_OK;
static int loaded;

EXPORT void bootstrap_ends(HRESULT result)
{
	ends = result;
}

EXPORT int bootstrap_loaded(void)
{
	return loaded;
}

EXPORT HRESULT WINAPI MddBootstrapInitialize2(UINT32 version, const wchar_t *tag, UINT64 least,
					      UINT32 options)
{
	(void)version;
	(void)tag;
	(void)least;
	(void)options;
	loaded += SUCCEEDED(ends);
	return ends;
}

EXPORT void WINAPI MddBootstrapShutdown(void)
{
	loaded--;
}
